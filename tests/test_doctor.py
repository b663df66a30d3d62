"""The doctor's checks against answers in the shapes of botocore's service model."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, SSOTokenLoadError
from botocore.stub import Stubber

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.doctor import account, check_docker, data, examine, jobs
from glacierflow.doctor.patient import Check, Patient, run_check
from glacierflow.errors import Finding, exit_code_of
from glacierflow.model.records import StepSettings
from glacierflow.settings import load_settings

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

ROLE = "arn:aws:iam::123456789012:role/glacierflow-job"
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"123456789012.dkr.ecr.us-west-2.amazonaws.com/glacierflow@{DIGEST}"


class StubbedCloud(Cloud):
    """Real clients whose answers are given beforehand; botocore checks that AWS could answer so."""

    clients: dict[str, Any]
    stubs: dict[str, Any]

    def __init__(self) -> None:
        super().__init__(region="us-west-2")
        # the values are frozen, as everything a Cloud holds
        object.__setattr__(self, "clients", {})
        object.__setattr__(self, "stubs", {})

    def client(self, service: str) -> Any:
        if service not in self.clients:
            client: Any = boto3.client(
                service,  # type: ignore[call-overload]
                region_name="us-west-2",
                aws_access_key_id="x",
                aws_secret_access_key="x",
            )
            self.clients[service], self.stubs[service] = client, Stubber(client)
            self.stubs[service].activate()
        return self.clients[service]

    def answers(self, service: str, operation: str, answer: dict[str, Any]) -> StubbedCloud:
        self.client(service)
        self.stubs[service].add_response(operation, answer)
        return self

    def refuses(self, service: str, operation: str, code: str) -> StubbedCloud:
        self.client(service)
        self.stubs[service].add_client_error(operation, code, "made up", http_status_code=400)
        return self


@pytest.fixture
def cloud() -> StubbedCloud:
    return StubbedCloud()


def patient_of(cloud: Cloud, **step: Any) -> Patient:
    loaded = load_settings(overrides={"STORAGE.s3_bucket": "made-up"}, environ={})
    return Patient(loaded, StepSettings(**step), cloud, find_places(loaded, None))


def findings(check: Check, cloud: Cloud, **step: Any) -> list[Finding]:
    return run_check("it", check, patient_of(cloud, **step))


def one(check: Check, cloud: Cloud, **step: Any) -> Finding:
    (finding,) = findings(check, cloud, **step)
    return finding


def identity(date: dt.datetime, number: str = "123456789012") -> dict[str, Any]:
    return {
        "Arn": f"arn:aws:iam::{number}:user/me",
        "Account": number,
        "UserId": "x",
        "ResponseMetadata": {"HTTPHeaders": {"date": f"{date:%a, %d %b %Y %H:%M:%S} GMT"}},
    }


def test_credentials_and_clock(cloud: StubbedCloud) -> None:
    now = dt.datetime.now(dt.UTC)
    cloud.answers("sts", "get_caller_identity", identity(now))
    assert [found.verdict for found in findings(account.check_identity, cloud)] == ["ok", "ok"]
    # near the limit AWS still answers
    cloud.answers("sts", "get_caller_identity", identity(now - dt.timedelta(seconds=270)))
    late = findings(account.check_identity, cloud)[1]
    assert late.verdict == "problem"
    assert late.next_step
    assert re.search(r"\b2[67]\d s away", late.text)


@pytest.mark.parametrize(("ahead", "off"), [(420, True), (1, False)])
def test_a_clock_that_makes_aws_refuse_the_signature_is_found_by_the_date_of_the_refusal(
    cloud: StubbedCloud, ahead: float, off: bool
) -> None:
    date = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead)
    said = (
        "Signature expired: 20260101T000000Z is now earlier than 20260101T000200Z (20260101T000700Z - 5 min.)"
    )
    cloud.client("sts")
    cloud.stubs["sts"].add_client_error(
        "get_caller_identity",
        "SignatureDoesNotMatch",
        said,
        http_status_code=403,
        response_meta={"HTTPHeaders": {"date": f"{date:%a, %d %b %Y %H:%M:%S} GMT"}},
    )
    found = {finding.name: finding for finding in findings(account.check_identity, cloud)}
    assert "Signature expired" in found["credentials"].text
    assert found["credentials"].verdict != "ok"
    assert ("clock" in found) == off
    if off:
        assert found["clock"].verdict == "problem"
        assert re.search(r"\b4[12]\d s away", found["clock"].text)
        assert "set-ntp" in str(found["clock"].next_step)


def test_refused_credentials_are_a_problem_and_no_network_is_not(
    cloud: StubbedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.refuses("sts", "get_caller_identity", "ExpiredToken")
    assert one(account.check_identity, cloud).verdict == "problem"

    def unreachable(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sts")

    monkeypatch.setattr(cloud.client("sts"), "get_caller_identity", unreachable)
    assert one(account.check_identity, cloud).verdict == "unknown"

    def expired(**_: Any) -> None:
        raise SSOTokenLoadError(error_msg="expired")

    monkeypatch.setattr(cloud.client("sts"), "get_caller_identity", expired)
    finding = one(account.check_identity, cloud)
    assert finding.verdict == "problem"
    assert "aws sso login" in (finding.next_step or "")


def test_another_account_than_the_one_set_is_named(cloud: StubbedCloud) -> None:
    loaded = load_settings(overrides={"AWS_ACCOUNT.account_id": "111111111111"}, environ={})
    cloud.answers("sts", "get_caller_identity", identity(dt.datetime.now(dt.UTC), "222222222222"))
    patient = Patient(loaded, StepSettings(), cloud, find_places(loaded, None))
    (found,) = [f for f in account.check_identity(patient) if f.name == "account"]
    assert found.verdict == "problem"
    assert "222222222222" in found.text


def role(name: str) -> dict[str, Any]:
    created = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    arn = f"arn:aws:iam::123456789012:role/{name}"
    return {"Role": {"Path": "/", "RoleName": name, "RoleId": "A" * 16, "Arn": arn, "CreateDate": created}}


def test_missing_linked_roles_are_named_with_the_command_that_makes_them(cloud: StubbedCloud) -> None:
    cloud.answers("iam", "get_role", role("AWSServiceRoleForBatch"))
    cloud.refuses("iam", "get_role", "NoSuchEntity")
    cloud.answers("iam", "get_role", role("AWSServiceRoleForAutoScaling"))
    finding = one(account.check_linked_roles, cloud)
    assert "AWSServiceRoleForEC2Spot" in finding.text
    assert "spot.amazonaws.com" in (finding.next_step or "")
    cloud.refuses("iam", "get_role", "AccessDenied")
    assert one(account.check_linked_roles, cloud).verdict == "unknown"


def batch_answers(
    cloud: StubbedCloud,
    *,
    queue: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
) -> StubbedCloud:
    """Two queues on one spot environment."""
    queues = [
        {
            "jobQueueName": name,
            "jobQueueArn": f"arn:aws:batch:us-west-2:123456789012:job-queue/{name}",
            "state": "ENABLED",
            "status": "VALID",
            "priority": 1,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "spot"}],
        }
        | (queue or {})
        for name in ("glacierflow-spot", "glacierflow-ondemand")
    ]
    cloud.answers("batch", "describe_job_queues", {"jobQueues": queues})
    facts = {
        "computeEnvironmentName": "spot",
        "computeEnvironmentArn": "arn:aws:batch:us-west-2:123456789012:compute-environment/spot",
        "state": "ENABLED",
        "status": "VALID",
        "computeResources": {
            "type": "SPOT",
            "maxvCpus": 256,
            "instanceTypes": ["m6i.large", "r6i"],
            "subnets": ["subnet-1"],
        }
        | (resources or {}),
    } | (environment or {})
    return cloud.answers("batch", "describe_compute_environments", {"computeEnvironments": [facts]})


def definition(memory: int, vcpus: float = 1, image: str = IMAGE) -> dict[str, Any]:
    return {
        "jobDefinitions": [
            {
                "jobDefinitionName": f"glacierflow-{memory}",
                "jobDefinitionArn": f"arn:aws:batch:us-west-2:1:job-definition/glacierflow-{memory}:2",
                "revision": 2,
                "type": "container",
                "containerProperties": {
                    "image": image,
                    "jobRoleArn": ROLE,
                    "resourceRequirements": [
                        {"type": "VCPU", "value": str(vcpus)},
                        {"type": "MEMORY", "value": str(memory)},
                    ],
                },
            }
        ]
    }


def instances(*architectures: str) -> dict[str, Any]:
    return {
        "InstanceTypes": [
            {
                "InstanceType": name,
                "VCpuInfo": {"DefaultVCpus": 2},
                "MemoryInfo": {"SizeInMiB": memory},
                "ProcessorInfo": {"SupportedArchitectures": list(architectures or ("x86_64",))},
            }
            for name, memory in (("m6i.large", 8192), ("r6i.large", 16384))
        ]
    }


def test_queues_that_are_missing_disabled_or_invalid_are_problems(cloud: StubbedCloud) -> None:
    batch_answers(cloud)
    assert {found.verdict for found in findings(jobs.check_queues, cloud)} == {"ok"}
    missing = findings(
        jobs.check_queues, StubbedCloud().answers("batch", "describe_job_queues", {"jobQueues": []})
    )
    assert [found.verdict for found in missing] == ["problem"] * 2
    for fault in ({"state": "DISABLED"}, {"status": "INVALID", "statusReason": "no environment"}):
        faulty = findings(jobs.check_queues, batch_answers(StubbedCloud(), queue=fault))
        assert [found.verdict for found in faulty] == ["problem"] * 2


def test_an_invalid_environment_says_batchs_reason(cloud: StubbedCloud) -> None:
    batch_answers(cloud, environment={"status": "INVALID", "statusReason": "CLIENT_ERROR - no such role"})
    finding = one(jobs.check_environments, cloud)
    assert finding.verdict == "problem"
    assert "no such role" in finding.text


def test_a_class_bigger_than_any_instance_is_a_problem(cloud: StubbedCloud) -> None:
    for memory in (7500, 15500, 31500):
        cloud.answers("batch", "describe_job_definitions", definition(memory))
    cloud.answers("batch", "describe_job_definitions", {"jobDefinitions": []})
    batch_answers(cloud)
    cloud.answers("ec2", "describe_instance_types", instances())
    found = {finding.name: finding for finding in findings(jobs.check_definitions, cloud)}
    assert found["class 7500 MiB"].text.endswith("fits m6i.large of spot")
    assert found["class 15500 MiB"].text.endswith("fits r6i.large of spot")
    assert found["class 31500 MiB"].verdict == "problem"
    assert "there is no active job definition" in found["class 63200 MiB"].text


def test_fargate_has_no_instance_type_that_could_be_too_small(cloud: StubbedCloud) -> None:
    for memory, vcpus in ((7500, 1), (15500, 2), (31500, 8), (63200, 16)):
        cloud.answers("batch", "describe_job_definitions", definition(memory, vcpus))
    batch_answers(cloud, resources={"type": "FARGATE_SPOT", "instanceTypes": [], "maxvCpus": 8})
    found = {finding.name: finding for finding in findings(jobs.check_definitions, cloud)}
    assert [one.verdict for one in found.values()] == ["ok", "ok", "ok", "problem"]
    assert found["class 31500 MiB"].text.endswith("fits Fargate of spot")
    assert "16 vCPU" in found["class 63200 MiB"].text


def test_a_quota_below_a_class_is_a_problem_that_names_it(cloud: StubbedCloud) -> None:
    batch_answers(cloud)
    for memory, vcpus in ((7500, 1), (15500, 2), (31500, 4), (63200, 8)):
        cloud.answers("batch", "describe_job_definitions", definition(memory, vcpus))
    for value in (4.0, 8.0):
        cloud.answers("service-quotas", "get_service_quota", {"Quota": {"Value": value}})
    spot, on_demand = findings(account.check_quotas, cloud)
    assert (spot.verdict, on_demand.verdict) == ("problem", "ok")
    assert spot.text == "4 in us-west-2: no job fits of class 63200 MiB (8)"
    assert "L-34B43A08" in (spot.next_step or "")


def test_quotas_below_the_smallest_job_stop_everything(cloud: StubbedCloud) -> None:
    batch_answers(cloud)
    for memory in (7500, 15500, 31500, 63200):
        cloud.answers("batch", "describe_job_definitions", definition(memory))
    cloud.answers("service-quotas", "get_service_quota", {"Quota": {"Value": 0.0}})
    cloud.answers("service-quotas", "get_service_quota", {"Quota": {"Value": 64.0}})
    spot, on_demand = findings(account.check_quotas, cloud)
    assert (spot.verdict, on_demand.verdict) == ("problem", "ok")
    assert "L-34B43A08" in (spot.next_step or "")


def test_roles_that_are_gone_are_found(cloud: StubbedCloud) -> None:
    for memory in (7500, 15500, 31500, 63200):
        cloud.answers("batch", "describe_job_definitions", definition(memory))
    cloud.refuses("iam", "get_role", "NoSuchEntity")
    assert ROLE in one(jobs.check_roles, cloud).text


def with_image(cloud: StubbedCloud, image: str = IMAGE, **environment: Any) -> StubbedCloud:
    for memory in (7500, 15500, 31500, 63200):
        cloud.answers("batch", "describe_job_definitions", definition(memory, image=image))
    return batch_answers(cloud, **environment)


def index_of(*architectures: str) -> dict[str, Any]:
    manifests = [{"platform": {"architecture": name, "os": "linux"}} for name in architectures]
    return {"images": [{"imageManifest": json.dumps({"manifests": manifests})}]}


@pytest.mark.parametrize(
    ("offered", "needed", "verdict"),
    [
        (("amd64",), ("x86_64",), "ok"),
        (("amd64", "arm64"), ("arm64",), "ok"),
        (("amd64", "unknown"), ("arm64",), "problem"),
        ((), ("arm64",), "unknown"),
    ],
)
def test_the_image_must_be_of_the_instances_architecture(
    cloud: StubbedCloud, offered: tuple[str, ...], needed: tuple[str, ...], verdict: str
) -> None:
    with_image(cloud).answers("ecr", "batch_get_image", index_of(*offered))
    cloud.answers("ec2", "describe_instance_types", instances(*needed))
    assert one(jobs.check_images, cloud).verdict == verdict


@pytest.mark.parametrize(
    ("offered", "needed", "verdict"), [("amd64", "x86_64", "ok"), ("amd64", "arm64", "problem")]
)
def test_of_a_single_image_the_configuration_tells_the_architecture(
    cloud: StubbedCloud, offered: str, needed: str, verdict: str
) -> None:
    manifest = {"config": {"digest": DIGEST}, "layers": []}
    with_image(cloud).answers("ecr", "batch_get_image", {"images": [{"imageManifest": json.dumps(manifest)}]})
    cloud.answers("ec2", "describe_instance_types", instances(needed))
    with pages_served({"/config": json.dumps({"architecture": offered, "os": "linux"})}) as url:
        cloud.stubs["ecr"].add_response(
            "get_download_url_for_layer",
            {"downloadUrl": f"{url}/config", "layerDigest": DIGEST},
            {"registryId": "123456789012", "repositoryName": "glacierflow", "layerDigest": DIGEST},
        )
        found = one(jobs.check_images, cloud)
    assert found.verdict == verdict
    assert offered in found.text


def test_an_architecture_that_may_not_be_read_is_unknown(cloud: StubbedCloud) -> None:
    manifest = {"config": {"digest": DIGEST}}
    with_image(cloud).answers("ecr", "batch_get_image", {"images": [{"imageManifest": json.dumps(manifest)}]})
    cloud.answers("ec2", "describe_instance_types", instances())
    cloud.refuses("ecr", "get_download_url_for_layer", "AccessDeniedException")
    assert one(jobs.check_images, cloud).verdict == "unknown"


def test_on_fargate_the_definition_names_the_architecture(cloud: StubbedCloud) -> None:
    for memory in (7500, 15500, 31500, 63200):
        told = definition(memory)
        platform = {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"}
        told["jobDefinitions"][0]["containerProperties"]["runtimePlatform"] = platform
        cloud.answers("batch", "describe_job_definitions", told)
    batch_answers(cloud, resources={"type": "FARGATE_SPOT", "instanceTypes": []})
    cloud.answers("ecr", "batch_get_image", index_of("amd64"))
    found = one(jobs.check_images, cloud)
    assert found.verdict == "problem"
    assert "build it for arm64" in (found.next_step or "")


def test_an_image_that_is_not_there_or_cannot_be_asked_for(cloud: StubbedCloud) -> None:
    assert one(jobs.check_images, with_image(cloud, "debian:12")).verdict == "unknown"
    gone = with_image(StubbedCloud()).answers("ecr", "batch_get_image", {"images": []})
    assert one(jobs.check_images, gone).verdict == "problem"
    nowhere = with_image(StubbedCloud()).refuses("ecr", "batch_get_image", "RepositoryNotFoundException")
    assert "there is no repository glacierflow" in one(jobs.check_images, nowhere).text


def tasks_in(cloud: StubbedCloud, subnets: str = "", public_ip: str = "ENABLED") -> StubbedCloud:
    """The stack for ECS with these subnets; without any, there is none."""
    if not subnets:
        cloud.client("cloudformation")
        told = "Stack with id glacierflow-ecs does not exist"
        cloud.stubs["cloudformation"].add_client_error("describe_stacks", "ValidationError", told, 400)
        return cloud
    outputs = {"TaskSubnets": subnets, "TaskPublicIp": public_ip}
    stack = {
        "StackName": "glacierflow-ecs",
        "StackId": "id",
        "StackStatus": "CREATE_COMPLETE",
        "CreationTime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
    }
    return cloud.answers("cloudformation", "describe_stacks", {"Stacks": [stack]})


@pytest.mark.parametrize(
    ("public_ip", "own", "verdict"),
    [("ENABLED", True, "ok"), ("DISABLED", True, "problem"), ("ENABLED", False, "problem")],
)
def test_subnets_of_tasks_are_looked_at_with_those_of_instances(
    cloud: StubbedCloud, public_ip: str, own: bool, verdict: str
) -> None:
    tasks_in(batch_answers(cloud), "subnet-1", public_ip).answers("ec2", "describe_subnets", subnet(own))
    cloud.answers("ec2", "describe_route_tables", routes(GatewayId="igw-1"))
    assert one(account.check_network, cloud).verdict == verdict


def test_subnets_of_tasks_alone_are_looked_at_too(cloud: StubbedCloud) -> None:
    tasks_in(batch_answers(cloud, resources={"subnets": []}), "subnet-1")
    cloud.answers("ec2", "describe_subnets", subnet(False))
    cloud.answers("ec2", "describe_route_tables", routes(GatewayId="igw-1"))
    assert one(account.check_network, cloud).verdict == "ok", "each task asks for an address itself"


@pytest.mark.parametrize(("assigned", "verdict"), [("ENABLED", "ok"), ("DISABLED", "problem")])
def test_jobs_on_fargate_ask_for_addresses_themselves(
    cloud: StubbedCloud, assigned: str, verdict: str
) -> None:
    tasks_in(batch_answers(cloud, resources={"type": "FARGATE_SPOT", "instanceTypes": []}))
    for memory in (7500, 15500, 31500, 63200):
        told = definition(memory)
        network_of_jobs = {"assignPublicIp": assigned}
        told["jobDefinitions"][0]["containerProperties"]["networkConfiguration"] = network_of_jobs
        cloud.answers("batch", "describe_job_definitions", told)
    cloud.answers("ec2", "describe_subnets", subnet(False))
    cloud.answers("ec2", "describe_route_tables", routes(GatewayId="igw-1"))
    assert one(account.check_network, cloud).verdict == verdict


def subnet(public: bool) -> dict[str, Any]:
    return {"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", "MapPublicIpOnLaunch": public}]}


def routes(**route: str) -> dict[str, Any]:
    return {"RouteTables": [{"Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "State": "active"} | route]}]}


def endpoints(*names: str) -> dict[str, Any]:
    return {"VpcEndpoints": [{"ServiceName": f"com.amazonaws.us-west-2.{name}"} for name in names]}


@pytest.mark.parametrize(
    ("public", "route", "verdict"),
    [
        (True, {"GatewayId": "igw-1"}, "ok"),
        (False, {"GatewayId": "igw-1"}, "problem"),
        (False, {"NatGatewayId": "nat-1"}, "ok"),
    ],
)
def test_a_subnet_with_a_gateway(
    cloud: StubbedCloud, public: bool, route: dict[str, str], verdict: str
) -> None:
    tasks_in(batch_answers(cloud)).answers("ec2", "describe_subnets", subnet(public))
    cloud.answers("ec2", "describe_route_tables", routes(**route))
    assert one(account.check_network, cloud).verdict == verdict


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            ("ecr.api", "ecr.dkr", "s3", "logs"),
            "has VPC endpoints for ecr.api, ecr.dkr, s3, logs, and no way to",
        ),
        (("s3", "logs"), "no endpoint for ecr.api, ecr.dkr"),
    ],
)
def test_a_subnet_without_a_way_out_does_not_lead_to_the_stac_apis(
    cloud: StubbedCloud, there: tuple[str, ...], said: str
) -> None:
    tasks_in(batch_answers(cloud)).answers("ec2", "describe_subnets", subnet(False))
    cloud.answers("ec2", "describe_route_tables", {"RouteTables": []})
    cloud.answers("ec2", "describe_route_tables", {"RouteTables": [{"Routes": []}]})
    cloud.answers("ec2", "describe_vpc_endpoints", endpoints(*there))
    found = one(account.check_network, cloud)
    assert said in found.text
    assert found.verdict == "problem"


def test_regions_that_differ_cost_money() -> None:
    assert one(data.check_regions, Cloud(region="us-west-2")).verdict == "ok"
    assert one(data.check_regions, Cloud(region="eu-central-1")).verdict == "problem"


def test_a_bucket_is_asked_without_leaving_a_trace(cloud: StubbedCloud) -> None:
    upload = {"UploadId": "u", "Bucket": "made-up", "Key": "k"}
    for where, verdict in (("us-west-2", "ok"), ("eu-west-1", "problem")):
        cloud.answers("s3", "head_bucket", {"BucketRegion": where})
        cloud.answers("s3", "create_multipart_upload", upload)
        cloud.answers("s3", "abort_multipart_upload", {})
        assert one(data.check_bucket, cloud).verdict == verdict
    cloud.refuses("s3", "head_bucket", "404")
    assert one(data.check_bucket, cloud).verdict == "problem"


@contextlib.contextmanager
def pages_served(pages: dict[str, str]) -> Iterator[str]:
    """A server with these pages and no other."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in pages else 404)
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_stac_apis_are_asked_for_their_search() -> None:
    good = {"links": [{"rel": "search", "href": "x"}]}
    pages = {"/good": json.dumps(good), "/other": '{"links": []}', "/page": "<html>"}
    with pages_served(pages) as url:
        asked = {"sentinel2_stac_url": f"{url}/good", "landsat_stac_url": f"{url}/other"}
        first, second = findings(data.check_stac, Cloud(), **asked)
        assert (first.verdict, second.verdict) == ("ok", "problem")
        for path in ("gone", "page"):
            same = {"sentinel2_stac_url": f"{url}/{path}", "landsat_stac_url": f"{url}/{path}"}
            assert one(data.check_stac, Cloud(), **same).verdict == "problem"


def test_bad_credentials_leave_the_rest_unknown_not_broken(
    cloud: StubbedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "check_stac", lambda _: iter([Finding("STAC API", "ok", "")]))
    cloud.refuses("sts", "get_caller_identity", "InvalidClientTokenId")
    found = list(examine(patient_of(cloud)))
    assert [one.verdict for one in found[:2]] == ["problem", "unknown"]
    assert exit_code_of(found) == 1


def test_docker_is_asked_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert check_docker().verdict == "unknown"
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/docker")
    for code, verdict in ((0, "ok"), (1, "unknown")):
        answer = subprocess.CompletedProcess([], code, "28.0\n", "no daemon")
        monkeypatch.setattr(subprocess, "run", lambda *_, answer=answer, **__: answer)
        assert check_docker().verdict == verdict


@pytest.mark.embedded
def test_the_command_examines_the_embedded_cloud(
    at_cloud: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["doctor", "--local", "--json", "--quiet"])
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert code in {0, 2}, "2: there is no Docker engine here"
    assert not [one for one in found.values() if one["verdict"] == "problem"]
    assert not {"service-linked role", "image", "network", "vCPU quotas"} & found.keys()
    for name in ("credentials", "clock", "regions", "bucket", "job queue", "compute environment", "STAC API"):
        assert found[name]["verdict"] == "ok", found[name]

"""``glacierflow doctor``: is everything there that a run needs?"""

from __future__ import annotations

from glacierflow.cli import options as o
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, cloud_for, load_line
from glacierflow.cli.findings import show_findings
from glacierflow.errors import GlacierflowError

__all__ = ["doctor_command"]


@collects(*CONNECTION, "s3_bucket")
def doctor_command(
    line: CommandLine,
    as_json: o.JsonOption = False,
) -> int:
    """Check that everything a run needs is there.

    Credentials, bucket, queues, roles, image, network, quotas and data access, each with its fix.

    Exit code 0: all is well; 1: a problem; 2: something could not be checked.
    """
    from glacierflow.services.doctor import examine
    from glacierflow.services.doctor.patient import Patient
    from glacierflow.services.places import find_places

    loaded = load_line(line)
    cloud, step = cloud_for(loaded, line)
    try:
        places = find_places(loaded, cloud)
    except GlacierflowError:
        # that AWS does not answer is a finding of the first check, not the end of all of them
        places = find_places(loaded, None)
    patient = Patient(loaded, step, cloud, places)
    return show_findings(list(examine(patient)), as_json=as_json)

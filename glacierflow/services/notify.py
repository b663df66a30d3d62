"""Tell people by SNS."""

from __future__ import annotations

from glacierflow.aws import Cloud
from glacierflow.services.failures import plain_errors

__all__ = ["publish"]


def publish(cloud: Cloud, topic_arn: str, subject: str, text: str) -> None:
    """Publish one message to a topic.

    Raises:
        UsageError: there is no such topic, or it may not be published to.
        UnavailableError: AWS cannot be reached.
    """
    with plain_errors(f"publish to {topic_arn}", service="SNS"):
        cloud.client("sns").publish(TopicArn=topic_arn, Subject=subject, Message=text)

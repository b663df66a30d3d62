"""The embedded cloud, by the AWS service that each part stands in for."""

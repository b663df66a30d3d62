"""AWS Batch in the embedded cloud: jobs that really run."""

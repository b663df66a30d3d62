"""Bucket and machine in step, and products removed on request."""

"""The embedded cloud: a local AWS endpoint whose Batch children really run, and an imagery archive to try."""

"""Where units are run: AWS services behind plain functions."""

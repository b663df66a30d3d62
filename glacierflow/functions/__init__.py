"""The programs that AWS Lambda runs: the handler of units, the scheduler, and their packages."""

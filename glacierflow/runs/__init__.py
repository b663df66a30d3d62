"""Runs: planned, recorded and looked at; no AWS clients of their own."""

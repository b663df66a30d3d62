"""Tests that need a Docker engine; where CI is set there has to be one."""

"""The step: one unit in, its products in the store."""

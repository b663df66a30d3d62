"""From a unit to acquisitions, and a reason for everything that is left out."""

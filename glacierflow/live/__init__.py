"""A run that has been submitted: how it stands now, why, ended, tried again."""

"""What is a run shown as? One page of HTML with its data, from what the verbs of runs tell."""

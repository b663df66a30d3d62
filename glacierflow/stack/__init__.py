"""CloudFormation: templates, parameters, deployment, policies."""

"""The scheduler: a Lambda function that plans, submits and repeats runs without a person."""

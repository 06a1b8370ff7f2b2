"""Where the data comes from: the challenge's archive, or a synthetic stack in the same format."""

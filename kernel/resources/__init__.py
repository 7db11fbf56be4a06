"""The machine's resources: what there is, how much is used, who has a right to how much."""

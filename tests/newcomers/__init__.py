"""What people come with: five pipelines that are not ours, from their files to their results."""

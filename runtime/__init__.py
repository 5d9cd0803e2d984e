"""What runs inside a job: the agent, event files and the checkpoint library; stdlib only."""

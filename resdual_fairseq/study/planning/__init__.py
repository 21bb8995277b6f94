"""From a spec to tasks, what they take, which are left, and what the done ones found."""

"""What was decided, emitted and proven -> plan.json and back, and what it promises."""

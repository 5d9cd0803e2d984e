"""Pure decisions: what runs next, where, and what happens after an end."""

"""Dead letters: lists, shows, replays and discards them, in the broker and in a database."""

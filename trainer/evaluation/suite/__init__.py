"""The evaluation suite: one small file a protocol, and what they share."""

"""What an encoder is worth on drawings that other people made."""

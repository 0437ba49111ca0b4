"""Other people's GAN weights -> generator folders: read as data, never run."""

"""Classification from few labels and many unlabelled images, from any encoder as a beginning."""

"""On which targets a pipeline or a build fits: what is asked in words, and what is found."""

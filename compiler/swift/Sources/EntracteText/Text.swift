// Prompts and tokenizers.

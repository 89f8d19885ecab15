"""The OpenAI dialect: chat completions."""

"""The `openai` engine: both passes by language models behind an OpenAI-compatible endpoint."""

"""Looking at a trained model: numbers (`inspection`), pictures (`plots`, `explorers`)."""

"""The wet half of the Predict1 family (text to world): EDM, network CosmosTransformer3DModel, T5."""

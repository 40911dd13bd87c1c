"""The wet half of the Predict1 family (text to world): objective EDM, network CosmosTransformer3DModel, encoder T5."""

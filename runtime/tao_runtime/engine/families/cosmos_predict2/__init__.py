"""The wet half of the Predict2 family (video to world): rectified flow, network CosmosTransformer3DModel, T5."""

"""The wet half of the Cosmos3 vision family: flow matching on packs, network Cosmos3OmniTransformer."""

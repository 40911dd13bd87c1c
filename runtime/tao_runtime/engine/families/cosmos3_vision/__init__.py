"""The wet half of the Cosmos3 vision family: flow matching on packed samples of any size, network Cosmos3OmniTransformer."""

"""Plain convolutional networks whose layers differ in width (the channel-ratio space of DC-NAS)."""

AUTO_CLASSES = {
    "AutoConfig": "configuration_channel_cnn.SearchedChannelCnnConfig",
    "AutoModel": "modeling_channel_cnn.SearchedChannelCnnModel",
    "AutoModelForImageClassification": "modeling_channel_cnn.SearchedChannelCnnForImageClassification",
}
"""What transformers' Auto classes load, as "module.Class" of this folder; also the `auto_map` of published models."""

PUBLIC = (
    "supernet_channel_cnn.ChannelCnnSupernet",
    "supernet_channel_cnn.ChannelCnnSupernetConfig",
)
"""What `searchhub` offers of this folder beside these classes, in the same form."""

"""The small networks that InfoMin's experiments are repeated with: 32x32 px, a hundredth of a ResNet-50."""

SIZE_PX = 32
SMALL = (  # what every network here has in common
    "encoder.backbone=resnet10t",
    f"encoder.size_px={SIZE_PX}",
    "objective.hidden=128",
    "objective.dimensions=64",
    "batch_images=128",
    "data.workers=1",
    "log_images=5000",
)
ENCODER = (
    *SMALL,
    "encoder.arguments={channels: [16, 32, 64, 128], stem_width: 16}",
    "optimizer.base_learning_rate=0.002",
)

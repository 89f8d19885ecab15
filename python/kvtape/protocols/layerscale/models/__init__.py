"""LayerScale: the objects on the wire.

Responses are supersets: they carry the fields of both generations of clients at once, which every published client
accepts. Fields that are only sometimes there default to UNSET and are then left out.
"""

from kvtape.protocols.layerscale.models.answers import (
    Generated,
    GenerateToken,
    GenerateUsage,
)
from kvtape.protocols.layerscale.models.events import (
    Connected,
    DataUpdated,
    FlashDeleted,
    FlashEntry,
    FlashItem,
    FlashList,
    FlashReady,
    FlashRegistered,
)
from kvtape.protocols.layerscale.models.requests import (
    AppendRequest,
    CreateRequest,
    FlashInit,
    FlashRequest,
    GenerateRequest,
    PushRequest,
)
from kvtape.protocols.layerscale.models.rows import (
    EventStats,
    IotStats,
    OhlcvStats,
    PushResult,
    SpatialPosition,
    SpatialStats,
    Stats,
    StreamData,
    StreamInfo,
    StreamStatistics,
    StreamStatus,
    VitalsAlerts,
    VitalsCurrent,
    VitalsStats,
)
from kvtape.protocols.layerscale.models.server import (
    Health,
    Model,
    ModelList,
)
from kvtape.protocols.layerscale.models.sessions import (
    AppendResult,
    DataRegion,
    MarkPrefixResult,
    SessionDeleted,
    SessionList,
    SessionObject,
    Slot,
    SlotList,
)

__all__ = [
    "AppendRequest",
    "AppendResult",
    "Connected",
    "CreateRequest",
    "DataRegion",
    "DataUpdated",
    "EventStats",
    "FlashDeleted",
    "FlashEntry",
    "FlashInit",
    "FlashItem",
    "FlashList",
    "FlashReady",
    "FlashRegistered",
    "FlashRequest",
    "GenerateRequest",
    "GenerateToken",
    "GenerateUsage",
    "Generated",
    "Health",
    "IotStats",
    "MarkPrefixResult",
    "Model",
    "ModelList",
    "OhlcvStats",
    "PushRequest",
    "PushResult",
    "SessionDeleted",
    "SessionList",
    "SessionObject",
    "Slot",
    "SlotList",
    "SpatialPosition",
    "SpatialStats",
    "Stats",
    "StreamData",
    "StreamInfo",
    "StreamStatistics",
    "StreamStatus",
    "VitalsAlerts",
    "VitalsCurrent",
    "VitalsStats",
]

"""What TensorBoard itself makes of a folder of event files, as JSON. Argument: the folder. Needs the package tensorboard, and nothing of torchwire's."""

from __future__ import annotations

import base64
import glob
import json
import os
import sys

from google.protobuf.json_format import MessageToDict
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

folder = sys.argv[1]
accumulator = EventAccumulator(folder, size_guidance=dict.fromkeys(["scalars", "tensors", "images", "audio", "histograms"], 0))
accumulator.Reload()
# What the pages of TensorBoard see, where every plugin finds what is its own.
pages = plugin_event_accumulator.EventAccumulator(folder)
pages.Reload()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


tags = accumulator.Tags()
plugins = {tag: metadata.plugin_data for tag, metadata in pages.AllSummaryMetadata().items()}
print(
    json.dumps(
        {
            "files": sorted(map(os.path.basename, glob.glob(f"{folder}/*tfevents*"))),
            # Each record's checksums have been looked at.
            "events": [
                [event.file_version, event.step, [value.tag for value in event.summary.value]]
                for path in sorted(glob.glob(f"{folder}/*tfevents*"))
                for event in LegacyEventFileLoader(path).Load()
            ],
            "plugins": {tag: plugin.plugin_name for tag, plugin in plugins.items()},
            "scalars": {t: [[e.step, e.value, e.wall_time] for e in accumulator.Scalars(t)] for t in tags["scalars"]},
            "images": {
                t: [[e.step, e.width, e.height, text(e.encoded_image_string)] for e in accumulator.Images(t)] for t in tags["images"]
            },
            "audio": {
                t: [[e.step, e.sample_rate, e.length_frames, e.content_type, text(e.encoded_audio_string)] for e in accumulator.Audio(t)]
                for t in tags["audio"]
            },
            "histograms": {t: [[e.step, vars(e.histogram_value)] for e in accumulator.Histograms(t)] for t in tags["histograms"]},
            "texts": {
                tag: [[e.step, [s.decode() for s in e.tensor_proto.string_val]] for e in pages.Tensors(tag)]
                for tag, plugin in plugins.items()
                if plugin.plugin_name == "text"
            },
            "hparams": {
                tag: MessageToDict(HParamsPluginData.FromString(plugin.content))
                for tag, plugin in plugins.items()
                if plugin.plugin_name == "hparams"
            },
        }
    )
)

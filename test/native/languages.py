"""examples/languages.ts in plain PyTorch and transformers: `python languages.py LINES EPOCHS`.

Prints the mean loss of each epoch, the accuracy on the lines that are kept back, and of three other lines how sure the
model is, a number on each line.
"""

import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import BertConfig, BertForSequenceClassification

from shuffle import bucketed

LINES, EPOCHS = int(sys.argv[1]), int(sys.argv[2])
ROOT = Path(__file__).parents[2]
SOURCES = [("docs", ".md"), ("client", ".ts"), ("python", ".py")]
BATCH = 32
STRANGE = ["The worker runs them in their order.", "const two = await one + 1;", "if two is not None: return one"]


def tokens(line):
    return torch.tensor([ord(character) for character in line])


def lines(folder, end):
    names = sorted(path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(f"*{end}"))
    text = "\n".join((ROOT / folder / name).read_text() for name in names)
    text = re.sub(r'```.*?```|""".*?"""', "", text, flags=re.DOTALL)
    found = [re.match("^ *([A-Za-z][ -~]{11,63})", line) for line in text.split("\n")]
    every = [line[1] for line in found if line]
    return [every[i * len(every) // LINES] for i in range(LINES)]


samples = [(tokens(line), label) for label, source in enumerate(SOURCES) for line in lines(*source)]
training = [sample for i, sample in enumerate(samples) if i % 5 != 0]
validation = [sample for i, sample in enumerate(samples) if i % 5 == 0]


def padded(some):
    return pad_sequence(some, batch_first=True), pad_sequence([torch.ones_like(ids) for ids in some], batch_first=True)


def batches(part, epoch):
    for indices in bucketed([len(ids) for ids, _ in part], BATCH, 0, epoch):
        ids, mask = padded([part[i][0] for i in indices])
        yield ids, mask, torch.tensor([part[i][1] for i in indices])


torch.manual_seed(0)
model = BertForSequenceClassification(
    BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=128,
        max_position_embeddings=64,
        num_labels=len(SOURCES),
    )
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(EPOCHS):
    model.train()
    total = 0.0
    for ids, mask, labels in batches(training, epoch):
        loss = F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    print(total / len(training))

model.eval()
with torch.inference_mode():
    right = [
        (model(input_ids=ids, attention_mask=mask).logits.argmax(1) == labels).sum().item()
        for ids, mask, labels in batches(validation, 0)
    ]
    ids, mask = padded([tokens(line) for line in STRANGE])
    sure = model(input_ids=ids, attention_mask=mask).logits.softmax(1).amax(1)
print(sum(right) / len(validation))
print(*sure.tolist(), sep="\n")

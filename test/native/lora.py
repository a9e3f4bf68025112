"""examples/lora.ts in plain PyTorch, transformers and peft: `python lora.py LETTERS EPOCHS`.

Prints as JSON: the losses of training and validation, epoch by epoch, of each of the two languages, the texts that are
written, and how many parameters there are and are trained.
"""

import json
import re
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from shuffle import permutation

LETTERS, EPOCHS = int(sys.argv[1]), int(sys.argv[2])
ROOT = Path(__file__).parents[2]
CONTEXT = 64


def reading(folder, end):
    files = sorted((ROOT / folder).glob(f"*{end}"), key=lambda path: path.name)
    text = "\n".join(file.read_text() for file in files)
    text = re.sub(r"```.*?```|[^\n -~]", "", text, flags=re.DOTALL)
    ids = torch.tensor([ord(letter) for letter in text[:LETTERS]])
    pieces = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    order = permutation(len(pieces), 0)
    cut = round(0.9 * len(pieces))
    return pieces[sorted(order[:cut])], pieces[sorted(order[cut:])]


def fit(model, training, validation):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for batch in training[permutation(len(training), 0, epoch)].split(16):
            loss = model(input_ids=batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()
        with torch.inference_mode():
            seen = sum(model(input_ids=batch, labels=batch).loss.item() * len(batch) for batch in validation.split(64))
        losses.append([total / len(training), seen / len(validation)])
    return losses


@torch.inference_mode()
def written(model):
    model.eval()
    start = torch.tensor([[ord(letter) for letter in "The "]])
    ids = model.generate(start, max_new_tokens=200, do_sample=True, top_k=5)
    return "".join(map(chr, ids[0].tolist()))


torch.manual_seed(0)
base = LlamaForCausalLM(
    LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=128,
        max_position_embeddings=256,
    )
)
english = fit(base, *reading("docs", ".md"))
texts = [written(base)]
adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=4))
typescript = fit(adapted, *reading("client/callbacks", ".ts"))
texts.append(written(adapted))
trainable, parameters = adapted.get_nb_trainable_parameters()
print(json.dumps({"losses": [english, typescript], "texts": texts, "counts": [trainable, parameters]}))

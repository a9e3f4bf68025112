"""examples/policy-gradient.ts in plain PyTorch: `python policy_gradient.py UPDATES CARTS`. Prints the same lines."""

import sys

import torch
import torch.nn.functional as F

UPDATES, CARTS = int(sys.argv[1]), int(sys.argv[2])
MOMENTS = 100
DISCOUNT = 0.98

seed = 1


def random():
    global seed
    seed = (seed * 1_664_525 + 1_013_904_223) % 2**32
    return seed / 2**32


def begin():
    return tuple(0.1 * random() - 0.05 for _ in range(4))


def move(state, right):
    x, v, angle, w = state
    square = angle * angle
    sin = angle * (1 - square / 6 + (square * square) / 120)
    cos = 1 - square / 2 + (square * square) / 24
    push = ((10 if right else -10) + 0.05 * w * w * sin) / 1.1
    turn = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - (0.1 * cos * cos) / 1.1))
    speed_up = push - (0.05 * turn * cos) / 1.1
    return x + 0.02 * v, v + 0.02 * speed_up, angle + 0.02 * w, w + 0.02 * turn


def has_fallen(state):
    return abs(state[0]) > 2.4 or abs(state[2]) > 0.2095


torch.manual_seed(0)
policy = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)


@torch.inference_mode()
def chances(states):
    return policy(torch.tensor(states, dtype=torch.float32)).squeeze(1).sigmoid().tolist()


def play():
    games = [([], []) for _ in range(CARTS)]
    moving = [(game, begin()) for game in games]
    for _ in range(MOMENTS):
        if not moving:
            break
        still = []
        for (game, state), chance in zip(moving, chances([state for _, state in moving]), strict=True):
            right = random() < chance
            game[0].append(state)
            game[1].append(float(right))
            after = move(state, right)
            if not has_fallen(after):
                still.append((game, after))
        moving = still
    return games


def gains(length):
    found, gain = [], 0.0
    for _ in range(length):
        gain = 1 + DISCOUNT * gain
        found.append(gain)
    return found[::-1]


for update in range(1, UPDATES + 1):
    games = play()
    states = [state for game in games for state in game[0]]
    seen = torch.tensor(states, dtype=torch.float32)
    pushes = torch.tensor([push for game in games for push in game[1]])
    gain = torch.tensor([gain for game in games for gain in gains(len(game[0]))])
    advantage = (gain - gain.mean()) / gain.std()
    loss = F.binary_cross_entropy_with_logits(policy(seen).squeeze(1), pushes, weight=advantage)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"update {update}: the pole stays up for {0.02 * len(states) / CARTS:.3f} s; loss {loss.item()!r}")

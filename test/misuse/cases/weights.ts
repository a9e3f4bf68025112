import { loadWeights, saveWeights } from "torchwire";
import { summary } from "torchwire/model";
import { ones, type Cases } from "../given.ts";

export const weights: Cases = {
  "saving to a folder that is not there": async ({ nn, folder }) =>
    await saveWeights(nn.Linear(1, 1), `${folder}/runs/1.safetensors`), // <-
  "saving where a file stands in the folder's place": async ({ nn, folder }) => {
    await saveWeights(nn.Linear(1, 1), `${folder}/code.pt/1.safetensors`); // <-
  },
  "saving under another extension": async ({ nn, folder }) => await saveWeights(nn.Linear(1, 1), `${folder}/model.pt`), // <-
  "saving what is no module": async ({ worker, folder }) =>
    await saveWeights(worker.tensor([1]), `${folder}/x.safetensors`), // <-
  "loading a file that is not there": async ({ nn, folder }) =>
    await loadWeights(nn.Linear(1, 1), `${folder}/best.safetensors`), // <-
  "loading a broken file": async ({ nn, folder }) => await loadWeights(nn.Linear(1, 1), `${folder}/broken.safetensors`), // <-
  "loading another model's weights": async ({ nn, folder }) =>
    await loadWeights(nn.Sequential(nn.Linear(1, 1)), `${folder}/other.safetensors`), // <-
  "loading weights of other shapes": async ({ nn, folder }) =>
    await loadWeights(nn.Linear(3, 1), `${folder}/other.safetensors`), // <-
  "loading a .pt file with code in it": async ({ nn, folder }) =>
    await loadWeights(nn.Linear(1, 1), `${folder}/code.pt`), // <-
  "a summary with inputs of another shape": async ({ nn }) => await summary(nn.Linear(1, 1), { input: ones(1, 3) }), // <-
};

/** Attributes: misspelt, read-only, of a wrong kind. Each line ends in the one error it must give. */
import { worker } from "../worker.ts";

const torch = worker.import("torch");
const torchvision = worker.import("torchvision");
const { nn } = torch;
const model = torchvision.models.resnet18();
const x = torch.ones(3);

model.fc.in_feature; // TS2551 misspelt, with a suggestion
model.head; // TS2339 of another model
model.fc = x; // TS2322 a tensor as a layer
model.fc = 10; // TS2322 a number as a layer
model.fc = nn.Linear; // TS2322 a class as a layer
model.fcc = nn.Linear(1, 1); // TS2339 setting a misspelt name
model.fc.in_features = "10"; // TS2322 a string as a number
x.grad = 0; // TS2322 a number as a gradient
x.shape = [3]; // TS2540 setting what is read-only
model.name.length; // TS18048 the name of JavaScript's functions, which a module has not
model.bind(null); // TS2722 a method of JavaScript's functions
export const parameters: number = nn.Linear.length; // TS2322 the length of JavaScript's functions
export async function settled(): Promise<void> {
  const network = await model;
  network.then(() => undefined); // TS2339 awaiting twice
  const value = await x.item();
  value.item(); // TS2339 a number as a tensor
  const none = await x.backward();
  none.item(); // TS18047 None as a tensor
  (await x.grad).norm(); // TS2531 a gradient that may be None
}

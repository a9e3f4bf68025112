/** Formats: PyTorch's axes and bits of arrays as they lie in JavaScript, and the way back. */
import { beforeAll, describe, expect, test } from "vitest";
import { kw, py, type NDArray, type Worker } from "torchwire";
import type { AnyRef } from "../../../bridge/types/core.ts";
import {
  batch,
  cifar10,
  format,
  image,
  imagenet,
  mnist,
  same,
  sequence,
  video,
  type Format,
  type FormatContext,
} from "../../../client/formats/index.ts";
import { ofBatch } from "../../../client/formats/format.ts";
import { caught, operationsOf, untyped } from "../../observed.ts";
import { bytes, floats, unchecked } from "../../tiny.ts";
import { warmWorker } from "../../worker.ts";

describe("in a worker", () => {
  let worker: Worker;
  let torch: AnyRef;
  let numpy: AnyRef;

  beforeAll(async () => {
    worker = await warmWorker();
    torch = untyped(worker, "torch");
    numpy = untyped(worker, "numpy");
  });

  const tensor = (array: NDArray): AnyRef => worker.tensor(array) as unknown as AnyRef;
  const how = (array: NDArray, channelsLast = false): FormatContext => ({ worker, ...array, channelsLast });
  const toTorch = (format: Format, array: NDArray, channelsLast = false): AnyRef =>
    ofBatch(format).toTorch(tensor(array), how(array, channelsLast));
  const thereAndBack = (format: Format, array: NDArray, channelsLast = false): Promise<NDArray> =>
    py.ndarray(ofBatch(format).fromTorch(toTorch(format, array, channelsLast), how(array)));

  /** torchvision's transforms of each image by itself. */
  function transformed(array: NDArray, mean?: readonly number[], std?: readonly number[]): AnyRef {
    const { ToTensor, Normalize, Compose } = untyped(worker, "torchvision.transforms");
    const transform = Compose([ToTensor(), ...(mean === undefined ? [] : [Normalize(mean, std)])]);
    const images = numpy.asarray(tensor(array).numpy());
    return torch.stack(Array.from({ length: array.shape[0]! }, (_, i) => transform(py.at(images, i))));
  }

  describe.each([false, true])("images, channelsLast: %s", (channelsLast) => {
    test.each<[string, NDArray, Format, number[]?, number[]?]>([
      ["bytes", bytes(2, 16, 20, 3), image()],
      ["bytes, normalised", bytes(2, 16, 20, 3), image(imagenet), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
      ["cifar10", bytes(2, 8, 8, 3), image(cifar10), [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]],
      ["mnist", bytes(3, 28, 28, 1), image(mnist), [0.1307], [0.3081]],
      ["one mean for all", bytes(2, 8, 8, 4), image({ mean: 0.5, std: 0.25 }), [0.5], [0.25]],
      ["floats, normalised", floats(2, 8, 9, 3), image(imagenet), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
      ["floats", floats(2, 8, 9, 3), image()],
      ["a mean alone", floats(2, 8, 9, 3), image({ mean: [1, 2, 3] }), [1, 2, 3], [1, 1, 1]],
      ["a std alone", bytes(2, 8, 9, 3), image({ std: [1, 2, 3] }), [0, 0, 0], [1, 2, 3]],
    ])("%s have torchvision's bits", async (_what, array, format, mean, std) => {
      const found = toTorch(format, array, channelsLast);
      expect(await py.ndarray(found)).toEqual(await py.ndarray(transformed(array, mean, std)));
      const { memory_format } = layout(channelsLast);
      expect(await found.is_contiguous(kw({ memory_format }))).toBe(true);
    });

    test("grey images fill the channels that the model takes", async () => {
      const array = bytes(2, 8, 9, 1);
      const expected = transformed(array).expand(-1, 3, -1, -1);
      const { memory_format } = layout(channelsLast);
      const plain = toTorch(image({ channels: 3 }), array, channelsLast);
      expect(await py.ndarray(plain)).toEqual(await py.ndarray(expected));
      expect(await plain.is_contiguous(kw({ memory_format }))).toBe(true);
      const normalized = toTorch(image({ ...imagenet, channels: 3 }), array, channelsLast);
      const { normalize } = untyped(worker, "torchvision.transforms.functional");
      expect(await py.ndarray(normalized)).toEqual(
        await py.ndarray(normalize(expected, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
      );
      expect(await normalized.is_contiguous(kw({ memory_format }))).toBe(true);
    });
  });
  const layout = (channelsLast: boolean): { memory_format: AnyRef } => ({
    memory_format: channelsLast ? torch.channels_last : torch.contiguous_format,
  });

  test("channelsLast is a view: floats lie where they came", async () => {
    const array = floats(2, 4, 5, 3);
    const x = tensor(array);
    const address = await x.data_ptr();
    expect(await batch(image()).toTorch(x, how(array, true)).data_ptr()).toBe(address);
    expect(await batch(image()).toTorch(x, how(array)).data_ptr()).not.toBe(address);
  });

  test("videos are images with an axis more", async () => {
    const array = bytes(2, 3, 8, 9, 3);
    const found = toTorch(video(imagenet), array);
    expect(await py.js(found.shape)).toEqual([2, 3, 3, 8, 9]);
    const frames = transformed({ ...array, shape: [6, 8, 9, 3] }, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    const expected = frames.view(2, 3, 3, 8, 9).transpose(1, 2);
    expect(await py.ndarray(found)).toEqual(await py.ndarray(expected));
    expect(await found.is_contiguous()).toBe(true);
  });

  test("sequences have their time first, or stay as they are", async () => {
    const array = floats(2, 5, 3);
    expect(await py.ndarray(toTorch(sequence(), array))).toEqual(await py.ndarray(tensor(array).permute(1, 0, 2)));
    expect(await py.ndarray(toTorch(sequence({ batchFirst: true }), array))).toEqual(array);
    const ids: NDArray = { dtype: "int64", shape: [2, 3], data: BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n) };
    expect(await py.ndarray(toTorch(sequence(), ids))).toEqual({
      dtype: "int64",
      shape: [3, 2],
      data: BigInt64Array.of(1n, 4n, 2n, 5n, 3n, 6n),
    });
  });

  test("one sample, a batch, and a batch of batches", async () => {
    const array = bytes(2, 3, 4, 5, 3);
    const several = batch(batch(image(cifar10))).toTorch(tensor(array), how(array));
    expect(await py.js(several.shape)).toEqual([2, 3, 3, 4, 5]);
    const one = { ...bytes(4, 5, 3), data: array.data.slice(0, 60) as Uint8Array };
    const alone = image(cifar10).toTorch(tensor(one), how(one));
    expect(await py.js(alone.shape)).toEqual([3, 4, 5]);
    expect(await py.ndarray(py.at(several, 0, 0))).toEqual(await py.ndarray(alone));
    const back = batch(batch(image(cifar10))).fromTorch(several, how(array));
    expect(await py.ndarray(back)).toEqual(array);
    const grey = image({ channels: 3 });
    for (const format of [grey, batch(batch(grey))]) {
      const array = bytes(...(format === grey ? [] : [2, 3]), 4, 5, 1);
      const x = format.toTorch(tensor(array), how(array));
      expect(await py.js(x.shape)).toEqual([...array.shape.slice(0, -3), 3, 4, 5]);
      expect(await py.ndarray(format.fromTorch(x, how(array)))).toEqual(array);
    }
  });

  const volume = format({ name: "volume", axes: [3, 0, 1, 2] });
  const rotated = format({ name: "rotated", axes: [2, 0, 1], batched: true });
  const signed = format({
    name: "signed",
    batched: false,
    toTorch: (x, how) => image().toTorch(x, how).mul(2).sub(1),
    fromTorch: (y, how) => image().fromTorch(y.add(1).div(2), how),
  });
  const flipped = format({ name: "flipped", toTorch: (x) => x.flip(1), fromTorch: (y) => y.flip(1) });

  describe.each([false, true])("there and back, channelsLast: %s", (channelsLast) => {
    test.each<[string, Format, NDArray]>([
      ["same", same, floats(2, 3)],
      ["image", image(), bytes(2, 16, 8, 3)],
      ["image of floats", image(), floats(3, 4, 5, 2)],
      [
        "image of doubles",
        image(),
        { ...floats(1, 2, 2, 1), dtype: "float64", data: Float64Array.of(1e-9, 0.1, 2, -3) },
      ],
      ["image, normalised", image(imagenet), bytes(2, 16, 8, 3)],
      ["image, by one number", image(mnist), bytes(2, 16, 9, 3)],
      ["image of one pixel", image(cifar10), bytes(1, 1, 1, 3)],
      ["image of none", image(cifar10), bytes(0, 4, 4, 3)],
      ["image, grey in three channels", image({ channels: 3 }), bytes(2, 16, 8, 1)],
      ["image, grey in three channels, normalised", image({ ...imagenet, channels: 3 }), bytes(2, 16, 8, 1)],
      ["video", video(imagenet), bytes(2, 3, 8, 6, 3)],
      ["video of floats", video(), floats(2, 3, 4, 5, 3)],
      ["sequence", sequence(), floats(2, 5, 3)],
      ["axes of a sample", volume, floats(2, 3, 4, 5, 6)],
      ["axes of a batch", rotated, floats(2, 3, 4)],
      ["functions of a sample", signed, bytes(2, 16, 8, 3)],
      ["functions of a batch", flipped, floats(2, 3)],
    ])("%s", async (_what, format, array) => {
      expect(await thereAndBack(format, array, channelsLast)).toEqual(array);
    });
  });

  test("floats that were normalised come back as near as float32 has it", async () => {
    const array = floats(2, 8, 8, 3);
    const { dtype, shape, data } = await thereAndBack(image(imagenet), array);
    expect({ dtype, shape }).toEqual({ dtype: "float32", shape: array.shape });
    const furthest = Math.max(...(data as Float32Array).map((value, i) => Math.abs(value - (array.data[i] as number))));
    expect(furthest).toBeLessThan(2 ** -22);
  });

  test("what a model gives becomes bytes: rounded, and no less than 0 or more than 255", async () => {
    const y = torch.tensor([-1, 0.4 / 255, 0.6 / 255, 200 / 255, 7]).view(1, 1, 1, 5);
    const found = batch(image()).fromTorch(y, { worker, dtype: "uint8" });
    expect(await py.ndarray(found)).toEqual({
      dtype: "uint8",
      shape: [1, 1, 5, 1],
      data: Uint8Array.of(0, 0, 1, 200, 255),
    });
    // In half precision too, which no array of JavaScript has.
    const half = batch(image()).fromTorch(torch.ones(1, 3, 1, 1, kw({ dtype: torch.bfloat16 })), {
      worker,
      dtype: "float32",
    });
    expect(await py.ndarray(half)).toEqual({ dtype: "float32", shape: [1, 1, 1, 3], data: Float32Array.of(1, 1, 1) });
  });

  test("one's own formats have the axes that they say", async () => {
    expect(await py.js(toTorch(volume, floats(2, 3, 4, 5, 6)).shape)).toEqual([2, 6, 3, 4, 5]);
    expect(await py.js(toTorch(rotated, floats(2, 3, 4)).shape)).toEqual([4, 2, 3]);
    expect(await toTorch(volume, floats(2, 3, 4, 5, 6)).is_contiguous()).toBe(true);
    expect(
      await toTorch(signed, bytes(1, 16, 16, 1))
        .min()
        .item(),
    ).toBe(-1);
  });

  test.each<[string, unknown, RegExp]>([
    ["a Promise", Promise.resolve(1), /^late: toTorch gave a Promise; it must return a reference, at once$/],
    ["nothing", undefined, /^late: toTorch gave undefined; /],
  ])("a function of one's own that gives %s", async (_what, result, message) => {
    const late = format({ name: "late", toTorch: () => unchecked(result), fromTorch: (y) => y });
    const error = await caught(() => void toTorch(late, floats(1)));
    expect(error.message).toMatch(message);
    expect(error.code).toBe("MISUSE");
  });

  test("normalised first in inference mode, and in a lane that failed, it serves training after", async () => {
    const normalization = { mean: [0.11, 0.12, 0.13], std: [0.21, 0.22, 0.23] };
    const array = floats(1, 2, 2, 3);
    await caught(() =>
      worker.lane(() => {
        torch.no_such_name();
        toTorch(image(normalization), array);
      }),
    );
    await worker.context({ mode: "inference" }, () => py.ndarray(toTorch(image(normalization), array)));
    const x = tensor(array).requires_grad_();
    batch(image(normalization)).toTorch(x, how(array)).sum().backward();
    const { data } = await py.ndarray(x.grad);
    expect([...(data as Float32Array)].slice(0, 3)).toEqual(
      [0.21, 0.22, 0.23].map((std) => Math.fround(1 / Math.fround(std))),
    );
  });

  test("mean and std cost two operations a step, and leave nothing behind", async () => {
    const array = bytes(2, 8, 8, 3);
    await py.settle(toTorch(image(imagenet), array));
    const plain = await operationsOf(worker, () => worker.scope(() => void toTorch(image(), array)));
    const normalized = await operationsOf(worker, () => worker.scope(() => void toTorch(image(imagenet), array)));
    expect(normalized - plain).toBe(2);
  });
});

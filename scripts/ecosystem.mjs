// Runs an exported model.onnx in ONNX Runtime for JavaScript: scripts/ecosystem.py calls it, and it reads as an example.
//
//     node scripts/ecosystem.mjs onnxruntime-node NODE_MODULES model.onnx job.json
//
// job.json: {pixels: file of RGB bytes [H, W, 3], height, width, mean, std, labels: file to write, uint8 [H, W]}.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [library, nodeModules, model, jobFile] = process.argv.slice(2);
const ort = createRequire(join(resolve(nodeModules), "any.js"))(library);
const { pixels, height, width, mean, std, labels } = JSON.parse(readFileSync(jobFile, "utf8"));

// [H, W, 3] bytes to [1, 3, H, W] floats, normalised as deploy.yaml says: (pixel - mean) / std.
const bytes = readFileSync(pixels);
const size = height * width;
const input = new Float32Array(3 * size);
for (let i = 0; i < size; i++) {
  for (let c = 0; c < 3; c++) input[c * size + i] = (bytes[3 * i + c] - mean[c]) / std[c];
}

const session = await ort.InferenceSession.create(model);
const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, [1, 3, height, width]) });
writeFileSync(labels, Buffer.from(outputs[session.outputNames[0]].data));

/** Writes WAV files: samples from -1 to 1 become whole numbers of 16 bits, with the channels in turn. */
export function wav(samples: ArrayLike<number>, channels: number, sampleRate: number): Uint8Array {
  const size = 2 * samples.length;
  const file = Buffer.alloc(44 + size);
  file.write("RIFF", 0, "latin1");
  file.writeUInt32LE(36 + size, 4);
  file.write("WAVEfmt ", 8, "latin1");
  file.writeUInt32LE(16, 16);
  // 1 means not compressed.
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(channels, 22);
  file.writeUInt32LE(sampleRate, 24);
  file.writeUInt32LE(sampleRate * channels * 2, 28);
  file.writeUInt16LE(channels * 2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36, "latin1");
  file.writeUInt32LE(size, 40);
  for (let i = 0; i < samples.length; i++) {
    const x = samples[i]!;
    file.writeInt16LE(Number.isNaN(x) ? 0 : Math.round(Math.max(-1, Math.min(1, x)) * 0x7fff), 44 + 2 * i);
  }
  return file;
}

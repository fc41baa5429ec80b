// Where Storage keeps the bytes: a directory per object, in it a file per version and beside that a small JSON with its
// HTTP metadata. As on a hosted project the row in storage.objects says which version is served: an upload whose row the
// database refuses changes nothing. Names are digests, so no object name can leave the directory, clash with a folder or be
// too long.
import { createHash, randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const digest = (text) => createHash("sha256").update(text).digest("hex");

export class FileStore {
  driver = null;

  /**
   * @param root directory for the files
   * @param eTagOf (bucket, key) => the eTag in the object's row, undefined without a row
   */
  constructor(root, eTagOf) {
    this.root = root;
    this.eTagOf = eTagOf;
  }

  directory(bucket, key) {
    return join(this.root, digest(bucket).slice(0, 16), `${digest(`${bucket}/${key}`)}.versions`);
  }

  version(bucket, key, eTag) {
    return join(this.directory(bucket, key), digest(eTag).slice(0, 32));
  }

  async served(bucket, key) {
    return this.version(bucket, key, (await this.eTagOf(bucket, key)) ?? "");
  }

  async uploadObject(bucket, key, _version, body, contentType, cacheControl) {
    const directory = this.directory(bucket, key);
    const partial = join(directory, randomUUID());
    const hash = createHash("md5");
    let size = 0;
    async function* counted(source) {
      for await (const chunk of source) {
        size += chunk.length;
        hash.update(chunk);
        yield chunk;
      }
    }
    await mkdir(directory, { recursive: true });
    try {
      const source = body instanceof Uint8Array ? [body] : Readable.fromWeb(body);
      await pipeline(source, counted, createWriteStream(partial));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    // The same bytes as another media type are another version.
    const eTag = `"${hash.update(`\0${contentType}`).digest("hex")}"`;
    const facts = { mimetype: contentType, cacheControl, eTag };
    const path = this.version(bucket, key, eTag);
    await writeFile(`${path}.json`, JSON.stringify(facts));
    await rename(partial, path);
    await this.forget(directory, [path, await this.served(bucket, key)]);
    return { ...facts, size, contentLength: size, lastModified: new Date() };
  }

  /** Versions that nothing refers to any more. A minute's grace is for uploads whose row is not written yet. */
  async forget(directory, kept) {
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      if (kept.some((version) => path.startsWith(version))) continue;
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > 60_000) await rm(path, { force: true });
    }
  }

  async described(path) {
    const [facts, { size, mtime }] = await Promise.all([readFile(`${path}.json`, "utf8").then(JSON.parse), stat(path)]);
    return { ...facts, size, contentLength: size, lastModified: mtime };
  }

  async headObject(bucket, key) {
    return this.described(await this.served(bucket, key));
  }

  async getObject(bucket, key, _version, headers) {
    const path = await this.served(bucket, key);
    const metadata = await this.described(path);
    if (headers?.ifNoneMatch === metadata.eTag) return { httpStatusCode: 304, metadata };
    // Opened before anything is answered: what is erased or replaced meanwhile is read to its end, or not found.
    const file = await open(path);
    return { httpStatusCode: 200, metadata, body: Readable.toWeb(file.createReadStream()) };
  }

  async deleteObject(bucket, key) {
    await rm(this.directory(bucket, key), { recursive: true, force: true });
  }

  async deleteObjects(bucket, keys) {
    await Promise.all(keys.map((key) => this.deleteObject(bucket, key)));
  }

  async copyObject(sourceBucket, source, _version, destinationBucket, destination) {
    const from = await this.served(sourceBucket, source);
    const { eTag, lastModified } = await this.headObject(sourceBucket, source);
    const to = this.version(destinationBucket, destination, eTag);
    await mkdir(this.directory(destinationBucket, destination), { recursive: true });
    await Promise.all([copyFile(from, to), copyFile(`${from}.json`, `${to}.json`)]);
    return { httpStatusCode: 200, eTag, lastModified };
  }

  async privateAssetUrl(bucket, key) {
    return `file://${await this.served(bucket, key)}`;
  }
}

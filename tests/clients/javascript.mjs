// The official JavaScript client against one server: CRUD, watch, every patch, server-side apply, custom kinds, exec.
// usage: node javascript.mjs KUBECONFIG NAMESPACE; KUBERNETES_CLIENT names the module's folder. Each step is a line "ok STEP".
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const k8s = await import(pathToFileURL(process.env.KUBERNETES_CLIENT + '/dist/index.js').href);
const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);

async function step(name, what) {
	await what();
	console.log('ok ' + name);
}

async function refused(code, promise) {
	await assert.rejects(promise, (e) => e.code === code);
}

async function until(wanted, what) {
	for (const end = Date.now() + 120000; Date.now() < end; await new Promise((r) => setTimeout(r, 50))) {
		const value = await wanted().catch(() => null);
		if (value) return value;
	}
	throw new Error(what + ': not within 120 s');
}

await step('create, read, replace, list, delete', async () => {
	await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'one' }, data: { a: '1' } } });
	await refused(409, core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'one' } } }));
	const one = await core.readNamespacedConfigMap({ namespace, name: 'one' });
	assert.ok(one.metadata.creationTimestamp instanceof Date);
	await core.replaceNamespacedConfigMap({ namespace, name: 'one', body: { ...one, data: { a: '2' } } });
	await refused(409, core.replaceNamespacedConfigMap({ namespace, name: 'one', body: { ...one, data: { a: '3' } } }));
	const all = await core.listNamespacedConfigMap({ namespace });
	assert.equal(all.items.find((c) => c.metadata.name === 'one').data.a, '2');
	await core.deleteNamespacedConfigMap({ namespace, name: 'one' });
	await refused(404, core.readNamespacedConfigMap({ namespace, name: 'one' }));
});

await step('watch', async () => {
	const seen = [];
	const watch = new k8s.Watch(config);
	const since = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
	let ended;
	const over = new Promise((r) => { ended = r; });
	const request = await watch.watch(`/api/v1/namespaces/${namespace}/configmaps`, { resourceVersion: since },
		(type, object) => { seen.push(type + ' ' + object.metadata.name); if (type === 'DELETED') request.abort(); }, ended);
	await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'two' } } });
	await core.deleteNamespacedConfigMap({ namespace, name: 'two' });
	await over;
	assert.deepEqual(seen, ['ADDED two', 'DELETED two']);
});

await step('informer', async () => {
	const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () => core.listNamespacedConfigMap({ namespace }));
	const added = new Promise((r) => informer.on('add', (o) => { if (o.metadata.name === 'seen') r(o); }));
	await informer.start();
	await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'seen' } } });
	await added;
	await informer.stop();
});

await step('patches', async () => {
	const labels = { app: 'web' };
	const containers = [{ name: 'web', image: 'web:v1' }];
	await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: 'web' },
		spec: { replicas: 0, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers } } } } });
	const patch = (strategy, body) => apps.patchNamespacedDeployment({ namespace, name: 'web', body },
		k8s.setHeaderOptions('Content-Type', strategy));
	let now = await patch(k8s.PatchStrategy.JsonPatch, [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'web:v2' }]);
	assert.equal(now.spec.template.spec.containers[0].image, 'web:v2');
	now = await patch(k8s.PatchStrategy.MergePatch, { metadata: { labels: { tier: 'front' } } });
	assert.equal(now.metadata.labels.tier, 'front');
	now = await patch(k8s.PatchStrategy.StrategicMergePatch, { spec: { template: { spec: { containers: [{ name: 'side', image: 'web:v1' }] } } } });
	assert.deepEqual(now.spec.template.spec.containers.map((c) => c.name).sort(), ['side', 'web']);
	const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' });
	assert.deepEqual([scale.spec.replicas, scale.status.replicas], [undefined, 0]); // Go leaves a zero out of the first
});

await step('server-side apply', async () => {
	const apply = (value, manager, force) => objects.patch({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { key: value } },
		undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
	await apply('a', 'first');
	await refused(409, apply('b', 'second', false));
	const taken = await apply('b', 'second', true);
	assert.equal(taken.data.key, 'b');
	assert.deepEqual(taken.metadata.managedFields.map((m) => m.manager), ['second']);
});

await step('custom kinds', async () => {
	const group = 'js.example.com';
	const schema = { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { size: { type: 'integer', minimum: 1, _default: 3 } } } } } };
	const extensions = config.makeApiClient(k8s.ApiextensionsV1Api);
	const custom = config.makeApiClient(k8s.CustomObjectsApi);
	const where = { group, version: 'v1', namespace, plural: 'sails' };
	await extensions.createCustomResourceDefinition({ body: { metadata: { name: 'sails.' + group },
		spec: { group, scope: 'Namespaced', names: { plural: 'sails', singular: 'sail', kind: 'Sail' }, versions: [{ name: 'v1', served: true, storage: true, schema }] } } });
	const sail = (size) => ({ apiVersion: group + '/v1', kind: 'Sail', metadata: { name: 'main' }, spec: size === undefined ? {} : { size } });
	const made = await until(() => custom.createNamespacedCustomObject({ ...where, body: sail() }), 'the new kind');
	assert.equal(made.spec.size, 3);
	await refused(422, custom.replaceNamespacedCustomObject({ ...where, name: 'main', body: { ...made, spec: { size: 0 } } }));
	const patched = await custom.patchNamespacedCustomObject({ ...where, name: 'main', body: [{ op: 'replace', path: '/spec/size', value: 5 }] });
	assert.equal(patched.spec.size, 5);
	assert.equal((await objects.list(group + '/v1', 'Sail', namespace)).items.length, 1);
	await extensions.deleteCustomResourceDefinition({ name: 'sails.' + group });
});

await step('exec', async () => {
	await core.createNamespacedPod({ namespace, body: { metadata: { name: 'box' }, spec: { terminationGracePeriodSeconds: 0,
		containers: [{ name: 'box', image: 'busybox:test', command: ['sleep', '1000'] }] } } });
	await until(async () => (await core.readNamespacedPod({ namespace, name: 'box' })).status.phase === 'Running', 'the pod');
	let said = '';
	const out = new Writable({ write(chunk, _, done) { said += chunk; done(); } });
	const status = await new Promise((r) => new k8s.Exec(config).exec(namespace, 'box', 'box', ['sh', '-c', 'echo heard; exit 3'], out, null, null, false, r));
	assert.equal(said, 'heard\n');
	assert.equal(status.details.causes.find((c) => c.reason === 'ExitCode').message, '3');
});

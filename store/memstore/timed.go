package memstore

import (
	"container/heap"
	"time"
)

// timed is a map of things that expire, and a heap of the same things by when they do.
type timed[K comparable, V any] struct {
	items map[K]*item[K, V]
	queue queue[K, V]
}

type item[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
	place   int // in the queue
}

func newTimed[K comparable, V any]() timed[K, V] { return timed[K, V]{items: map[K]*item[K, V]{}} }

// get returns the item of k, or nil if there is none or it has expired: at the moment that expires names it is gone.
func (t *timed[K, V]) get(k K, now time.Time) *item[K, V] {
	if it := t.items[k]; it != nil && it.expires.After(now) {
		return it
	}
	return nil
}

func (t *timed[K, V]) put(k K, v V, expires time.Time) {
	it := t.items[k]
	if it == nil {
		it = &item[K, V]{key: k, value: v, expires: expires}
		t.items[k] = it
		heap.Push(&t.queue, it)
		return
	}
	it.value, it.expires = v, expires
	heap.Fix(&t.queue, it.place)
}

func (t *timed[K, V]) remove(k K) {
	if it := t.items[k]; it != nil {
		delete(t.items, k)
		heap.Remove(&t.queue, it.place)
	}
}

// oldest returns the item that expired first, or nil if none has.
func (t *timed[K, V]) oldest(now time.Time) *item[K, V] {
	if len(t.queue) == 0 || t.queue[0].expires.After(now) {
		return nil
	}
	return t.queue[0]
}

type queue[K comparable, V any] []*item[K, V]

func (q queue[K, V]) Len() int           { return len(q) }
func (q queue[K, V]) Less(i, j int) bool { return q[i].expires.Before(q[j].expires) }

func (q queue[K, V]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue[K, V]) Push(x any) {
	it := x.(*item[K, V]) //nolint:errcheck // heap.Push is given nothing else
	it.place = len(*q)
	*q = append(*q, it)
}

func (q *queue[K, V]) Pop() any {
	last := len(*q) - 1
	it := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return it
}

// index finds the ids of the records that have a value in common.
type index[K comparable] map[K]map[string]struct{}

func (x index[K]) add(k K, id string) {
	ids := x[k]
	if ids == nil {
		ids = map[string]struct{}{}
		x[k] = ids
	}
	ids[id] = struct{}{}
}

func (x index[K]) remove(k K, id string) {
	delete(x[k], id)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

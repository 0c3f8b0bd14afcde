package pages

import "testing"

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Config{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	p := newPages(b, Config{})
	for b.Loop() {
		if _, err := p.render(1, Consent{Client: App{Name: "x"}, Scopes: []Scope{{Name: "read"}}}); err != nil {
			b.Fatal(err)
		}
	}
}

package pages

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"path/filepath"
	"unicode/utf8"
)

// Bounds of a brand.
const (
	maxBrandName = 100      // characters
	maxLogo      = 64 << 10 // bytes
	maxLogoSide  = 4096     // pixels
)

// Check tells what is wrong with the name and the colour. It does not look at the logo; [New] does.
func (b Brand) Check() error {
	if err := checkBrandName(b.Name); err != nil || b.Color == "" {
		return err
	}
	_, err := parseColor(b.Color)
	return err
}

func checkBrandName(name string) error {
	if utf8.RuneCountInString(name) > maxBrandName {
		return fmt.Errorf("the name of the brand has more than %d characters", maxBrandName)
	}
	if clean(name, maxBrandName) != name {
		return fmt.Errorf("the name of the brand %q has characters that nobody sees", name)
	}
	return nil
}

// readLogo reads a logo, and tells its media type.
func readLogo(file string) (content []byte, mediaType string, err error) {
	content, err = readBounded(file, maxLogo)
	if err != nil {
		return nil, "", fmt.Errorf("the logo: %w", err)
	}
	switch filepath.Ext(file) {
	case ".svg":
		mediaType, err = "image/svg+xml", checkSVG(content)
	case ".png":
		mediaType, err = "image/png", checkPNG(content)
	default:
		err = errors.New("it has to end in .svg or .png")
	}
	if line, ok := errors.AsType[*xml.SyntaxError](err); ok {
		return nil, "", fmt.Errorf("the logo %s:%d: %s", file, line.Line, line.Msg)
	}
	if err != nil {
		return nil, "", fmt.Errorf("the logo %s: %w", file, err)
	}
	return content, mediaType, nil
}

// checkSVG demands well-formed XML with the element svg outside, and no DTD. Scripts in it do no harm: it is shown as
// an image, and who opens it alone gets a policy that lets nothing run.
func checkSVG(content []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(content))
	seen := false
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.Directive:
			return errors.New("it has a DTD")
		case xml.StartElement:
			if !seen && token.Name.Local != "svg" {
				return errors.New("it is no SVG")
			}
			seen = true
		}
	}
	if !seen {
		return errors.New("it is no SVG")
	}
	return nil
}

func checkPNG(content []byte) error {
	config, err := png.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return errors.New("it is no PNG")
	}
	if config.Width > maxLogoSide || config.Height > maxLogoSide {
		return fmt.Errorf("it is larger than %d pixels", maxLogoSide)
	}
	return nil
}
